"""Flows: Makers that compose jobs into the stages of a campaign, and the campaign itself."""

from __future__ import annotations
