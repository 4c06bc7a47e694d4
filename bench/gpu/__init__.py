"""The Triton kernels and their rivals on this machine's GPU, each beside the floor that its own limits set: `make bench-gpu`."""
