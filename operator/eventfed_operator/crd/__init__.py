"""The custom resource EventFederation: its models, its status and its definition."""
