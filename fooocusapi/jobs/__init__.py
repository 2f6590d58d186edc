"""Jobs, their queue and the worker; knows neither HTTP nor files."""
