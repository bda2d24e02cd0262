"""Reading an expression by recursive descent, to a bounded depth."""

from __future__ import annotations

from typing import Final

from headwater.core.expressions.faults import ExpressionFault
from headwater.core.expressions.lexer import Word, read_words
from headwater.core.expressions.terms import MAX_DEPTH, MAX_TERMS, Node

_COMPARISONS: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
_CONSTANTS: Final = {"null": None, "true": True, "false": False}


def parse(text: str) -> Node:
    """Return the tree of an expression; raises ``ExpressionFault``."""
    return _Parser(read_words(text)).whole()


class _Parser:
    def __init__(self, words: list[Word]) -> None:
        self._words = words
        self._position = 0
        self._depth = 0
        self._count = 0

    def whole(self) -> Node:
        node = self._expression()
        word = self._word
        if word.kind != "end":
            raise ExpressionFault(
                f"{word.text!r} is not expected here", word.at, "join two conditions by 'and' or 'or'"
            )
        return node

    @property
    def _word(self) -> Word:
        return self._words[self._position]

    def _next(self) -> Word:
        word = self._word
        self._position += word.kind != "end"
        return word

    def _accept(self, *texts: str) -> Word | None:
        word = self._word
        if word.kind in ("keyword", "sign") and word.text in texts:
            return self._next()
        return None

    def _expect(self, text: str, why: str) -> Word:
        word = self._accept(text)
        if word is None:
            found = self._word
            shown = repr(found.text) if found.text else "the end"
            raise ExpressionFault(f"{text!r} is expected {why}, not {shown}", found.at, f"write {text!r} here")
        return word

    def _node(self, kind: str, at: int, *parts: Node, value: object = None) -> Node:
        self._count += 1
        if self._count > MAX_TERMS:
            raise ExpressionFault(f"an expression may have {MAX_TERMS} parts", at, "compute parts of it before")
        return Node(kind, at, parts, value)

    def _expression(self) -> Node:
        self._enter()
        node = self._conjunction()
        while word := self._accept("or"):
            node = self._node("or", word.at, node, self._conjunction())
        self._depth -= 1
        return node

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionFault(f"nested deeper than {MAX_DEPTH}", self._word.at, "compute parts of it before")

    def _conjunction(self) -> Node:
        node = self._negation()
        while word := self._accept("and"):
            node = self._node("and", word.at, node, self._negation())
        return node

    def _negation(self) -> Node:
        word = self._accept("not")
        if word is None:
            return self._comparison()
        self._enter()
        node = self._node("not", word.at, self._negation())
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        node = self._sum()
        if word := self._accept(*_COMPARISONS):
            return self._node(word.text, word.at, node, self._sum())
        if word := self._accept("is"):
            return self._null_test(node, word)
        if word := self._accept("not"):
            self._expect("in", "after 'not'")
            return self._node("not", word.at, self._membership(node, word))
        if word := self._accept("in"):
            return self._membership(node, word)
        return node

    def _null_test(self, node: Node, word: Word) -> Node:
        is_negated = self._accept("not") is not None
        self._expect("null", "after 'is'")
        test = self._node("is_null", word.at, node)
        return self._node("not", word.at, test) if is_negated else test

    def _membership(self, node: Node, word: Word) -> Node:
        self._expect("(", "before the list of values")
        return self._node("in", word.at, node, *self._list())

    def _list(self) -> list[Node]:
        """Return expressions up to the closing parenthesis."""
        items = [self._expression()]
        while self._accept(","):
            items.append(self._expression())
        self._expect(")", "after a list")
        return items

    def _sum(self) -> Node:
        node = self._product()
        while word := self._accept("+", "-"):
            node = self._node(word.text, word.at, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._unary()
        while word := self._accept("*", "/", "%"):
            node = self._node(word.text, word.at, node, self._unary())
        return node

    def _unary(self) -> Node:
        word = self._accept("-")
        if word is None:
            return self._primary()
        self._enter()
        node = self._node("negate", word.at, self._unary())
        self._depth -= 1
        return node

    def _primary(self) -> Node:
        word = self._next()
        if word.kind == "literal":
            return self._node("literal", word.at, value=word.value)
        if word.kind == "name":
            return self._name(word)
        if word.kind == "keyword" and word.text in _CONSTANTS:
            return self._node("literal", word.at, value=_CONSTANTS[word.text])
        if word.kind == "keyword" and word.text == "case":
            return self._case(word)
        if word.kind == "sign" and word.text == "(":
            node = self._expression()
            self._expect(")", "to close the parenthesis")
            return node
        shown = repr(word.text) if word.text else "the end"
        raise ExpressionFault(f"a value is expected here, not {shown}", word.at)

    def _name(self, word: Word) -> Node:
        if self._accept("("):
            parts = [] if self._accept(")") else self._list()
            return self._node("call", word.at, *parts, value=word.text.lower())
        return self._node("name", word.at, value=word.text)

    def _case(self, word: Word) -> Node:
        """Return a case: conditions and values by turns, then what else."""
        parts: list[Node] = []
        while self._accept("when"):
            parts.append(self._expression())
            self._expect("then", "after the condition")
            parts.append(self._expression())
        if not parts:
            self._expect("when", "after 'case'")
        parts.append(self._expression() if self._accept("else") else self._node("literal", word.at))
        self._expect("end", "to close the case")
        return self._node("case", word.at, *parts)
