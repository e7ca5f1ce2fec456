"""Evaluators: what measures genotypes, and how a population is spread over workers."""
