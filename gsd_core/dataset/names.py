"""Names that people give the columns of chain-of-thought data, in order of preference.

QUESTION_NAMES, REASONING_NAMES, SOLUTION_NAMES, ANSWER_NAMES, CHAT_NAMES, ID_NAMES   whole names
REASONING_WORDS, ANSWER_WORDS   words that identify a column whose whole name is unknown
SYSTEM_NAMES, CONTEXT_NAMES, OPTION_NAMES   columns that belong to the question
STEP_TEXT_KEYS, ANSWER_KEYS   keys under which a step has its text, an object its answer
ALTERNATIVE_NAMES, ALTERNATIVE_KEYS   columns that hold several whole answers, and the keys of their texts
normal_name   a column's name in the form that is looked up here
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# In order of preference; lower case, words joined by "_".
QUESTION_NAMES = (
    "question", "problem", "prompt", "query", "problem_statement", "question_text", "question_content", "instruction",
    "user_prompt", "user", "input", "input_text", "task_prompt", "puzzle", "exercise", "statement", "task_description",
    "goal", "premise", "sentence", "text", "title", "source", "messages", "contents",
    "frage", "aufgabe", "enonce", "pregunta", "problema", "pergunta", "domanda", "вопрос", "问题", "题目",
    "質問", "問題", "질문", "q",
)  # fmt: skip
REASONING_NAMES = (
    "reasoning", "chain_of_thought", "cot", "rationale", "rationales", "reasoning_content", "reasoning_trace",
    "reasoning_chain", "reasoning_steps", "reasoning_text", "thinking", "thinking_trajectory",
    "thinking_trajectories", "thinking_trace", "thinking_content", "thoughts", "thought", "think", "thought_process",
    "trace", "steps", "solution_steps", "step_by_step", "step_by_step_solution", "scratchpad", "derivation", "proof",
    "working", "explanation", "explanations",
    "推理", "推理过程", "思考", "思考过程", "思维链", "解题过程", "解析", "begrundung", "gedankengang", "raisonnement",
    "razonamiento", "raciocinio", "ragionamento", "рассуждение", "推論", "思考過程", "추론",
)  # fmt: skip
REASONING_WORDS = {
    "reasoning",
    "cot",
    "rationale",
    "thinking",
    "thought",
    "thoughts",
    "think",
    "explanation",
    "steps",
}
SOLUTION_NAMES = (
    "solution", "generated_solution", "model_solution", "solutions", "worked_solution", "output", "response",
    "completion", "generation", "model_output", "model_response", "generated_text", "generations", "completions",
    "responses", "outputs", "resps", "assistant", "reply", "attempt", "answer", "chosen", "target", "facts",
    "decomposition", "evidence", "proof_steps", "ground_truth_solution", "gold_solution", "label_steps",
    "pre_generated_steps", "解答", "losung", "rechenweg",
)  # fmt: skip
ANSWER_NAMES = (
    "answer", "final_answer", "gold_answer", "expected_answer", "ground_truth_answer", "correct_answer",
    "reference_answer", "answer_text", "expected", "ground_truth", "groundtruth", "gold", "target", "target_answer",
    "expected_output", "expected_result", "reference", "correct_option", "correct", "answers", "numeric_answer",
    "numerical_answer", "short_answer", "predicted_answer", "prediction", "pred", "result", "label", "gt", "solution",
    "response", "output", "completion", "attempt", "ground_truth_solution", "gold_solution",
    "antwort", "losung", "reponse", "respuesta", "resposta", "risposta", "ответ", "答案", "回答", "解答",
    "答え", "정답", "a",
)  # fmt: skip
ANSWER_WORDS = {"answer", "solution", "ans"}
CHAT_NAMES = (
    "messages",
    "conversations",
    "conversation",
    "chat",
    "dialog",
    "dialogue",
    "turns",
    "trajectory",
    "contents",
    "choices",
)
ID_NAMES = (
    "id", "uid", "uuid", "qid", "_id", "idx", "index", "question_id", "problem_id", "example_id", "sample_id",
    "record_id", "unique_id", "key", "guid", "hash",
)  # fmt: skip
# Columns that are joined with the question, before or after it.
SYSTEM_NAMES = ("system", "system_prompt", "system_message")
CONTEXT_NAMES = ("context", "passage", "body", "premises", "background", "story")
OPTION_NAMES = ("options", "choices", "answer_choices", "candidates")
STEP_TEXT_KEYS = (
    "text",
    "content",
    "step",
    "value",
    "thought",
    "reasoning",
    "explanation",
    "sentence",
    "completion",
    "description",
    "rationale",
    "details",
    "detail",
    "summary",
)
ANSWER_KEYS = ("value", "answer", "final", "final_answer", "content", "text", "string", "reply", "result")
# A list of texts under one of these names holds several whole answers, not the steps of one.
ALTERNATIVE_NAMES = {
    "generations", "generation", "completions", "responses", "outputs", "solutions", "samples", "rollouts", "attempts",
    "candidates", "predictions", "rationales", "explanations", "thinking_trajectories", "resps",
}  # fmt: skip
# Keys of the text where such a list holds objects.
ALTERNATIVE_KEYS = ("text", "content", "response", "output", "generation", "completion", "generated_text", "solution")


@lru_cache(maxsize=4096)
def normal_name(name: str) -> str:
    """A column's name in lower case without accents, its words joined by "_"; of a dotted path, the last part."""
    last = re.sub(r"C[oO]T", "Cot", name.rpartition(".")[2])
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower()
    if not words.isascii():
        # Composed again: the syllables of Korean and the letters of Russian are no accents.
        plain = "".join(each for each in unicodedata.normalize("NFD", words) if not "\u0300" <= each <= "\u036f")
        words = unicodedata.normalize("NFC", plain)
    return re.sub(r"[^\w]+", "_", words).strip("_") or name.lower()
