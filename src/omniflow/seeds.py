"""Seeds for one step, epoch or record of many: repeatable, and neighbours are unrelated."""


def mixed_seed(seed: int, position: int) -> int:
    """A seed in [0, 2**63) for one position of a run (splitmix64's finaliser)."""
    value = (seed + 0x9E3779B97F4A7C15 * (position + 1)) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (value ^ (value >> 31)) >> 1
