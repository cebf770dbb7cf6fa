"""Files and hub data sets to samples, samples to spans. Neither torch nor streamlit is imported here.

load          one call from a file or hub id to samples and rejections
hub           rows of a hub data set
readers       a file's rows, whatever its format
streams       bytes of a file: size limits, compression, encoding
json_rows     rows of JSON Lines and of JSON documents
table_rows    rows of CSV and TSV in any dialect
fields        a row to a sample, under a mapping of columns
row_reader    takes the fields of a sample out of one row
guess         which column is the question, the reasoning, the answer
columns       values under columns, and what a few rows show about them
names         names that people give columns
messages      chat layouts: OpenAI ``messages``, ShareGPT ``conversations``
answers       ``<think>``, ``####``, ``\\boxed{}`` and other marks inside one text
values        plain texts and JSON values from what a reader hands over
segmenters    a sample's reasoning to character spans
prompts       a sample to the model's input text
tokenization  input text to tokens and token spans
"""
