"""What models recommend to some people, and what they take to be alike."""

from __future__ import annotations

from recbole_unisid.report.examples import Examples, Person
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, Section, foreign, note, section, swatch, tag
from recbole_unisid.report.wording import count

_WAYS = {"unified": "by the whole vector", "tokens": "by tokens", "text": "by text", "ID": "by ID"}
_NO_EXAMPLES = "These runs have kept no examples (examples.json): no histories and recommendations to show."
#: A reader looks at a few models, not at fifty.
_MOST_MODELS = 6
#: People whose lists are open from the start.
_OPEN = 2


def people(report: Report) -> Section:
    """Some test users' histories and lists, and some items' neighbours."""
    known = dict(list(report.examples.items())[:_MOST_MODELS])
    if not known:
        return section("people", "People", tag("p", _NO_EXAMPLES))
    first = next(iter(known.values()))
    cards = [_person(report, known, person, at < _OPEN) for at, person in enumerate(first.people)]
    near = [_neighbours(report, label, found) for label, found in known.items() if found.neighbours]
    told = "Some test users, the same for every model: the end of their history, and the best items they had not seen."
    return section("people", "People", tag("p", told), *cards, *near)


def _title(report: Report, known: Examples, item: str) -> Markup:
    return foreign(report.items.titles.get(item) or known.titles.get(item) or item)


def _person(report: Report, known: dict[str, Examples], person: Person, opened: bool) -> Markup:
    first = next(iter(known.values()))
    history = [tag("li", _title(report, first, item)) for item in person.history]
    earlier = person.history_length - len(person.history)
    if earlier > 0:
        history.insert(0, tag("li", f"{count(earlier)} earlier", class_="note"))
    truth = tag("li", tag("b", "then: "), _title(report, first, person.target), class_="truth")
    columns = [tag("div", tag("h4", "History"), tag("ul", *history, truth, class_="titles"))]
    for label, found in known.items():
        same = [one for one in found.people if (one.user, one.target) == (person.user, person.target)]
        columns += [_recommended(report, label, found, one) for one in same[:1]]
    head = tag("summary", "User ", foreign(person.user, 40))
    return tag("details", head, tag("div", *columns, class_="columns"), open=opened, class_="person")


def _recommended(report: Report, label: str, known: Examples, person: Person) -> Markup:
    lines = []
    for item in person.recommended:
        hit = item == person.target
        mark = tag("b", "✓ ", title="the item that came next") if hit else None
        lines.append(tag("li", mark, _title(report, known, item), class_="truth" if hit else None))
    head = tag("h4", swatch(report.colour_class(label)), label)
    rank = note(f"truth at rank {count(person.rank)}")
    return tag("div", head, tag("ol", *lines, class_="titles"), rank)


def _neighbours(report: Report, label: str, known: Examples) -> Markup:
    cards = []
    for one in known.neighbours:
        columns = []
        for way, items in one.by.items():
            near = [tag("li", _title(report, known, item)) for item in items]
            columns.append(tag("div", tag("h5", _WAYS.get(way, way)), tag("ol", *near, class_="titles")))
        head = tag("h4", "Nearest to ", _title(report, known, one.item))
        cards.append(tag("div", head, tag("div", *columns, class_="columns"), class_="neighbours"))
    return tag("details", tag("summary", f"Neighbours of items, {label}"), *cards)
