"""A page in the browser that makes anything of anything; takes the extra `demo`."""
