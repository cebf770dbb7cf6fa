"""Objectives and training loops.

demo_model  trains the bundled demo model
demo_data   what the demo model is trained on
"""
