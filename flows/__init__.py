"""When stages run, whether to go on, what is announced: Prefect, DVC, git and the command line."""
