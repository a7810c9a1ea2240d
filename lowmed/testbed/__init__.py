"""The testbed: generated images with several findings, and questions of one to three steps, to compare methods on."""
