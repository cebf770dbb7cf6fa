"""Model and spans → gradient records: hooks, tiers, sketch. Imports torch; knows neither store nor pages.

models      load a model and its tokenizer, list checkpoints
modules     which modules are captured
sketch      random projection of weight gradients
hooks       what watches a forward pass
batches     padded chunks, planned by token count
cache       the differentiable key-value cache
span, position, hidden   the tiers
capture     the facade: Capturer, iter_captured
embeddings  sentence embeddings of questions and spans
"""
