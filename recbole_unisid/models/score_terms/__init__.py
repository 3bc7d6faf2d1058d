"""Score terms: what is added to state @ item vector, with weights that are fitted on the validation set."""

from __future__ import annotations

from recbole_unisid.models.score_terms.base import ScoreTerm
from recbole_unisid.models.score_terms.terms import ScoreTerms, make_score_terms

__all__ = ["ScoreTerm", "ScoreTerms", "make_score_terms"]
