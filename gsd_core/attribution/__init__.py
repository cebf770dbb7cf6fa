"""How much each part of a trace bears on its answer: gradients along a path of inputs."""
