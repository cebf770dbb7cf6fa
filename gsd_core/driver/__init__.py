"""The capture driver: gives batches to workers and stores the results; runs that a training writes.

stored_data     data sets of a workspace: store a file, find the one that a name means
capture_plan    options, what the manifest records, what a resumed run must share
capture_sketch  where a run's sketch comes from
capture_run     samples, settings and static tables of a run
run_sentences   sentence embeddings of questions and spans
capture_work    planned batches to an executor's workers, results into the store
capture_worker  what a worker does: load a model, describe it, capture
tracking, tracked_run   the sinks of a training's callback
"""
