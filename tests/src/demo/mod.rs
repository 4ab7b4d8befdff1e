//! The demo: the main job on real traffic, and the checks that say whether anything was lost.
