# The model that the code of the first experiment really built: stages 2-4 with strides 4, 8, 16.
# Its notes say strides 2, 4, 8.
_base_ = "./patch2_sizeaware.py"

model = dict(backbone=dict(out_stages=(2, 3, 4)))
