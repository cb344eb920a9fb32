"""The models that ship with pyengine; see README.md beside this file."""
