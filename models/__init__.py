"""The convolution weights that ship with pyengine; see README.md beside this file."""
