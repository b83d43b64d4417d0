"""The corruptions of CIFAR-10-C, CIFAR-100-C and ImageNet-C, generated in batches on the CPU or a GPU."""
