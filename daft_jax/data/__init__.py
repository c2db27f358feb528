"""Data: what the suites are, where their images come from, how they are fed.

suites      plain records: which sources a benchmark trains and tests on
sources     embedded images: 'digits:train' -> images and labels
published/  data sets on disk, in their publishers' layouts or TFDS'
folder      a folder of one's own: classes, splits, what is wrong with it
preprocess  uint8 images of any size -> what a pretrained model expects
recipe      how training images are varied; a batch as a job for a worker
pipeline    batches as pure functions of (examples, seed, epoch)
workers     jobs done ahead of time, by threads or processes
residency   where images stay: on disk, in memory, on the accelerator
feed        all of it: from sets to batches on the devices
"""
