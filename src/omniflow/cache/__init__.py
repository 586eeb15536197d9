"""What frozen parts make of raw content, kept on disk and shared between runs and processes."""
