"""The command line: the third thin door to `core`, beside api/ and worker/."""
