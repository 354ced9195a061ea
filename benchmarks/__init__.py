"""Compare the speed of the library with loops written by hand: `make bench`."""
