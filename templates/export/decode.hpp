// From the outputs of the model in this folder to detections: C++11, the standard library alone.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

namespace vocdet {

struct Detection {
    float box[4];  // xmin, ymin, xmax, ymax in pixels of the image
    float score;   // compare it with the threshold of its label
    int label;     // row in labels.txt, from 0
};

const float kLeast = 0.001f;          // score of a detection
const float kOverlap = 0.55f;         // IoU above which the worse of two boxes of a label is removed
const std::size_t kCandidates = 300;  // of a label, before that
const std::size_t kMost = 300;        // detections
// Whether a box is the mean of the candidates of its label that overlap it, weighted by their scores; and the IoU with the
// box from which a candidate counts, and counts in full.
const bool kAverage = true;
const float kNoVote = 0.75f, kFullVote = 0.85f;

inline float iou(const float* a, const float* b) {
    const float w = std::min(a[2], b[2]) - std::max(a[0], b[0]), h = std::min(a[3], b[3]) - std::max(a[1], b[1]);
    const float inter = std::max(w, 0.f) * std::max(h, 0.f);
    const float both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]);
    return inter / std::max(both - inter, 1e-12f);
}

inline Detection mean(const Detection& one, const std::vector<Detection>& candidates) {
    float sum = 0, box[4] = {0, 0, 0, 0};
    for (const Detection& other : candidates) {
        const float share = (iou(one.box, other.box) - kNoVote) / (kFullVote - kNoVote);
        const float vote = std::min(std::max(share, 0.f), 1.f) * other.score;
        sum += vote;
        for (int k = 0; k < 4; ++k) box[k] += vote * other.box[k];
    }
    if (!(sum > 0)) return one;
    return {{box[0] / sum, box[1] / sum, box[2] / sum, box[3] / sum}, one.score, one.label};
}

// The detections, the best first, from boxes (anchors, 4) in shares of the image and scores (anchors, labels).
inline std::vector<Detection> select(const float* boxes, const float* scores, int anchors, int labels, float width,
                                     float height) {
    std::vector<Detection> found;
    const auto better = [](const Detection& a, const Detection& b) { return a.score > b.score; };
    for (int label = 0; label < labels; ++label) {
        std::vector<Detection> some, kept;
        for (int i = 0; i < anchors; ++i) {
            const float score = scores[static_cast<std::size_t>(i) * labels + label];
            const float* box = boxes + static_cast<std::size_t>(i) * 4;
            if (score > kLeast) some.push_back({{box[0], box[1], box[2], box[3]}, score, label});
        }
        std::stable_sort(some.begin(), some.end(), better);
        some.resize(std::min(some.size(), kCandidates));
        for (const Detection& one : some) {
            const auto overlaps = [&one](const Detection& other) { return iou(one.box, other.box) > kOverlap; };
            if (std::none_of(kept.begin(), kept.end(), overlaps)) kept.push_back(one);
        }
        for (const Detection& one : kept) found.push_back(kAverage ? mean(one, some) : one);
    }
    std::stable_sort(found.begin(), found.end(), better);
    found.resize(std::min(found.size(), kMost));
    for (Detection& one : found)
        for (int k = 0; k < 4; ++k) one.box[k] *= k % 2 ? height : width;
    return found;
}

}  // namespace vocdet
