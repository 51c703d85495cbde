"""What answers: releases as arms, feedback laid over them, one worker, and what to do when it fails."""
