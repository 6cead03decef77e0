"""The admin port: JSON API, metrics, health for orchestrators, and the dashboard."""
