"""A conversation as text, turn by turn, so that each token belongs to whoever says it."""

from typing import Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dpin.base.errors import Misuse

PLAIN: Final = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}\n{% endfor %}"
)


class Template:
    """A chat template as tokenizer_config.json holds it; empty: role and text on their own lines.

    Jinja in its sandbox: a template comes from the model's directory.
    """

    def __init__(self, text: str) -> None:
        try:
            environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
            self._template = environment.from_string(text or PLAIN)
        except TemplateError as error:
            raise Misuse(f"the chat template cannot be read: {error}") from None

    def turns(self, messages: list[dict[str, str]]) -> list[tuple[str, str]]:
        """(role, what its turn adds to the text); raises Misuse where turns cannot be told apart.

        What a template puts before an answer (the role's name) counts as said by that role.
        """
        told, turns = "", []
        for count, message in enumerate(messages, 1):
            whole = self._text(messages[:count])
            if not whole.startswith(told):
                raise Misuse("the chat template rewrites earlier turns: their tokens are not clear")
            turns.append((message["role"], whole[len(told) :]))
            told = whole
        return turns

    def _text(self, messages: list[dict[str, str]]) -> str:
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=False, bos_token="", eos_token=""
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise Misuse(f"the chat template fails: {error}") from None
