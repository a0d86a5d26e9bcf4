"""Recipes: each trains weights that the library ships, from one command on a folder of photographs."""
