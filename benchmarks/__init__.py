"""What the library costs against loops written by hand: `make bench`."""
