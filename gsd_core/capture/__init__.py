"""Model and spans → gradient records: hooks, tiers, sketch. Imports torch, and neither store nor pages.

capture        the entry: Capturer, capture_batch, iter_captured
tier_capture   what capture asks of a tier's implementation; the configuration
span_tier      tier span: chooses between ``span`` (in chunks) and ``window`` (in whole passes)
span, window, position, hidden   how the tiers are computed
attention      attention whose backward pass keeps the windows of spans apart
chunks, chunked_forward, cache   the forward pass in chunks over a differentiable cache
deferred_head  the output head, run only for tokens whose loss is needed
checkpointing  layers that are computed again in each backward pass
accumulate     sketched weight gradients, summed over positions
modules        which modules are captured
sketch         projection of weight gradients: random, or calibrated
calibration    what a sketch should keep of a model's gradients
hooks          how a forward pass is watched
pulse          how much of a batch is done, while it is computed
memory         what a batch needs, and the largest that fits
batches        padded chunks, planned by token count
measures       spectral strength and the GRACE-like score of steps
controls       random windows and single tokens, to compare alignment with
lesson         a step on one span, and what it does to the losses of others
exact          gradients without a sketch, for a few spans
embeddings     sentence embeddings of questions and spans
"""
