"""The capture driver: batches out to workers, finished ones into the store; runs that a training writes."""
