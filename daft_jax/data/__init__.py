"""Data: what the suites are, where their images come from, how they are fed.

suites      plain records: which sources a benchmark trains and tests on
sources     a source string such as 'digits:train' -> images and labels
preprocess  uint8 images of any size -> what a pretrained model expects
pipeline    batches as pure functions of (images, seed, epoch)
"""
