"""The folder of a training: what it holds, how it is written, resumed and tracked."""
