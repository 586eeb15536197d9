"""The command line of OmniFlow; a thin layer over the library `omniflow`."""

from omniflow_cli.shadowing import refuse_strangers

# Before anything imports `omniflow`: another package may be found under that name.
refuse_strangers()
