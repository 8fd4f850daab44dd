"""The command line: one verb a file, each a thin face of a public function."""
