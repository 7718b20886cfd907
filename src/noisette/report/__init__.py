"""Pictures of what was made and learned."""
