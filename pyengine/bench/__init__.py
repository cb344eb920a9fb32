"""What pyengine costs, measured where it runs: the `pyengine bench` command."""
