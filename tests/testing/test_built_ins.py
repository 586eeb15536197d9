"""The built-in components keep to the contracts that plugins are asked to keep to."""

from pathlib import Path

from omniflow.testing import contract_of, example_samples

#: Every head and refiner takes part in whole runs in tests/training/test_combinations.py.
MODEL = ["trains-in-a-model"]

test_linear = contract_of("head", "linear", skip=MODEL)
test_mlp = contract_of("head", "mlp", options={"hidden_dim": 16, "dropout": 0.2}, skip=MODEL)
test_vq = contract_of("head", "vq", options={"hidden_dim": 16, "codebook_size": 20}, skip=MODEL)
test_norm_mlp = contract_of("head", "norm-mlp", options={"hidden_dim": 16}, skip=MODEL)
test_norm_vq = contract_of(
    "head", "norm-vq", options={"hidden_dim": 16, "codebook_size": 20}, skip=MODEL
)
test_no_refiner = contract_of("refiner", "none", skip=MODEL)
test_mlp_refiner = contract_of("refiner", "mlp", options={"hidden_dim": 16}, skip=MODEL)
test_norm_mlp_refiner = contract_of("refiner", "norm-mlp", options={"hidden_dim": 16}, skip=MODEL)

test_scenes = contract_of("dataset", "scenes", options={"size": 8})
test_scenes_streaming = contract_of("dataset", "scenes", options={"streaming": True})


def lines(folder):
    file = folder / "lines.txt"
    file.write_text("".join(f"line number {number}\n" for number in range(200)))
    return {"path": str(file)}


def table(folder):
    example_samples(1)[0].image.save(folder / "picture.png")
    file = folder / "table.csv"
    rows = "".join(f"caption {number},picture.png\n" for number in range(200))
    file.write_text("text,image\n" + rows)
    return {"path": str(file)}


def files(folder):
    picture = example_samples(1)[0].image
    for number in range(60):
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"caption {number}")
    return {"path": str(folder)}


test_folder = contract_of("dataset", "folder", options=files)
test_text = contract_of("dataset", "text", options=lines)
test_csv = contract_of("dataset", "csv", options=table)

test_bleu = contract_of("metric", "bleu")
test_rouge = contract_of("metric", "rouge")
test_rouge1 = contract_of("metric", "rouge1")
test_rouge2 = contract_of("metric", "rouge2")
test_meteor = contract_of("metric", "meteor-no-synonyms")
test_distinct_1 = contract_of("metric", "distinct-1")
test_cider = contract_of("metric", "cider")
test_exact_match = contract_of("metric", "exact-match")
test_distinct = contract_of("metric", "distinct")
test_length_ratio = contract_of("metric", "length-ratio")
test_accuracy = contract_of("metric", "accuracy")
test_perplexity = contract_of("metric", "perplexity")

# The backbone `tiny` is checked by another name in tests/cli/test_new_plugin.py.
test_text_decoder = contract_of("objective", "text-decoder", options={"max_length": 16})
#: Whole steps of `flow` are long, and what these ask for is tested in tests/objectives.
LONG = [
    "validation-sums-add-up",
    "the-best-is-told-from-the-summary",
    "a-step-makes-a-batch-cheaper",
]
test_flow = contract_of("objective", "flow", options={"max_length": 16}, skip=LONG)

EXTERNAL = Path(__file__).parents[1] / "parity" / "data" / "pipeline_tiny" / "external"
SLOT = ["takes-its-slot-in-a-model"]
test_clip = contract_of(
    "encoder", "clip", options={"path": str(EXTERNAL / "clip_vit_l")}, skip=SLOT
)
test_clip_of_pictures = contract_of(
    "encoder",
    "clip",
    options={"path": str(EXTERNAL / "clip_vit_l"), "modality": "image"},
    skip=SLOT,
)
test_t5 = contract_of("encoder", "t5", options={"path": str(EXTERNAL / "flan_t5")}, skip=SLOT)
test_languagebind = contract_of(
    "encoder", "languagebind", options={"path": str(EXTERNAL / "languagebind_audio")}, skip=SLOT
)
