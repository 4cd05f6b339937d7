"""The parts the stages are made of. Modules here never import a stage and import each other only downwards:

errors → files, params, runtime → download, archives, images, compute → sources, backbones
       → inference → features, heads, scores → training, figures, report
"""
