"""Causal language models: where they come from, whether they are whole, on which devices they lie.

sources       model names → folders; the checkpoints of one fine-tune
gguf_files    GGUF files, dequantised once
weight_files  files of weights that are cut, or only point at weights
checks        refuses a loaded model that is random or wrong
memory        what is free, and whether the weights fit
devices       a model laid over several devices
loading       the entry: load_model, open_model
"""
