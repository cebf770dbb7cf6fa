"""From files and hub data sets to samples, and from samples to spans. Imports neither torch nor streamlit.

load          one call from a file or hub id to samples and rejections
hub           rows of a hub data set
saved         rows of a data set that the library ``datasets`` saved
readers       the rows of a file in any of the formats
streams       bytes of a file: size limits, compression, encoding
json_rows     rows of JSON Lines and of JSON documents
table_rows    rows of CSV and TSV in any dialect
fields        one row to a sample, by a mapping of columns
row_reader    the fields of a sample, read from one row
guess         which column is the question, the reasoning, the answer
columns       values under columns, and what a few rows show about them
names         names that people give columns
messages      chat layouts: OpenAI ``messages``, ShareGPT ``conversations``
transcripts   chats that are written out in one text
answers       ``<think>``, ``####``, ``\\boxed{}`` and other marks inside one text
values        plain texts and JSON values from what a reader gives
segmenters    a sample's reasoning to character spans
sentences     where sentences begin
prompts       a sample to the model's input text
tokenization  input text to tokens and token spans
demo          the generated demo corpus
"""
