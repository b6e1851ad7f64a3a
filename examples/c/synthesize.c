/* Paint one slice with an exported model, through TensorFlow's C library alone.
 *
 *   synthesize MODEL_DIR OUTPUT HEIGHT WIDTH SEED TRUNCATION < labels.raw > image.raw
 *
 * labels.raw: HEIGHT x WIDTH class ids, int32, row by row. image.raw: as many float32 in [-1, 1].
 * OUTPUT is the name of the output tensor, such as StatefulPartitionedCall_2:0. It is printed by
 * saved_model_cli show --dir MODEL_DIR --tag_set serve --signature_def serving_default
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static TF_Status *status;

static void check(const char *what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static TF_Output tensor_of(TF_Graph *graph, const char *name, int index) {
  TF_Output found = {TF_GraphOperationByName(graph, name), index};
  if (found.oper == NULL) {
    fprintf(stderr, "the model has no tensor %s\n", name);
    exit(1);
  }
  return found;
}

static TF_Tensor *tensor(TF_DataType type, const int64_t *shape, int axes, size_t bytes) {
  return TF_AllocateTensor(type, shape, axes, bytes);
}

int main(int count, char **values) {
  if (count != 7) {
    fprintf(stderr, "usage: %s MODEL_DIR OUTPUT HEIGHT WIDTH SEED TRUNCATION\n", values[0]);
    return 2;
  }
  const int64_t shape[] = {1, atoll(values[3]), atoll(values[4])}, pair[] = {1, 2}, one[] = {1};
  const size_t pixels = (size_t)(shape[1] * shape[2]);

  TF_Tensor *label_map = tensor(TF_INT32, shape, 3, pixels * sizeof(int32_t));
  if (fread(TF_TensorData(label_map), sizeof(int32_t), pixels, stdin) != pixels) {
    fprintf(stderr, "there are fewer than %zu class ids\n", pixels);
    return 1;
  }
  TF_Tensor *seed = tensor(TF_INT32, pair, 2, 2 * sizeof(int32_t));
  ((int32_t *)TF_TensorData(seed))[0] = atoi(values[5]);
  ((int32_t *)TF_TensorData(seed))[1] = 0;
  TF_Tensor *truncation = tensor(TF_FLOAT, one, 1, sizeof(float));
  *(float *)TF_TensorData(truncation) = strtof(values[6], NULL); /* inf for none */

  status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, values[1], tags, 1, graph, NULL, status);
  check("loading the model");

  char *colon = strrchr(values[2], ':');
  const int index = colon == NULL ? 0 : atoi(colon + 1);
  if (colon != NULL) *colon = '\0';
  const TF_Output inputs[] = {tensor_of(graph, "serving_default_label_map", 0),
                              tensor_of(graph, "serving_default_seed", 0),
                              tensor_of(graph, "serving_default_truncation", 0)};
  const TF_Output output = tensor_of(graph, values[2], index);
  TF_Tensor *const given[] = {label_map, seed, truncation};
  TF_Tensor *image = NULL;
  TF_SessionRun(session, NULL, inputs, given, 3, &output, &image, 1, NULL, 0, NULL, status);
  check("painting");

  const size_t numbers = TF_TensorByteSize(image) / sizeof(float);
  const int is_written = fwrite(TF_TensorData(image), sizeof(float), numbers, stdout) == numbers;
  TF_DeleteTensor(image);
  for (int i = 0; i < 3; i++) TF_DeleteTensor(given[i]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return is_written ? 0 : 1;
}
