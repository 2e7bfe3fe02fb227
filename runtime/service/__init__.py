"""Avatars behind a server: renderers for what clients ask for, and where the poses come from that clients do
not send."""

from .avatar_group import AvatarGroup
from .avatar_service import AvatarService

__all__ = ["AvatarGroup", "AvatarService"]
