"""Masks and mixing strategies: what the paper is about.

`masks` computes masks from numbers, `blend` applies a mask to images and targets, `strategy` draws pairs and the
p-coin, and one file for each method draws the numbers of its mask. :mod:`smoothmix` has the strategies by name.
"""
