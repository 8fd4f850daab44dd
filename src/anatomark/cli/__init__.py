"""The command line: one verb a file, each which parses its arguments and calls one public function."""
