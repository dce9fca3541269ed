"""The command line: words to a composed config, commands, the doctor, the tracking UI."""
