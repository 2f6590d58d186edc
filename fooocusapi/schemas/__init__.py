"""Shapes of requests and answers, and the words only the API uses."""
