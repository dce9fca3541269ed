"""The one typed schema of all settings. A composed config becomes it once and goes no further.

Unknown keys are refused, and a config is data: `_target_` is an unknown key like any other. The
defaults stand in `conf/`; what has one here too is what a library call may leave out.
"""
