// In which axes a map wraps round.
#pragma once

namespace pyengine {

struct Wrap {
    bool y, x;  // whether top and bottom meet, and left and right
};

}  // namespace pyengine
