"""The papers that a methods paragraph may cite, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterable

# key: kind, author, title, where it appeared, year
PAPERS = {
    "abadi2016": (
        "inproceedings",
        "Abadi, Mart{\\'i}n and others",
        "TensorFlow: A System for Large-Scale Machine Learning",
        "USENIX Symposium on Operating Systems Design and Implementation (OSDI)",
        2016,
    ),
    "banerjee1960": (
        "article",
        "Banerjee, Saibal Kumar",
        "Approximate Confidence Interval for Linear Functions of Means of k Populations When the "
        "Population Variances Are Not Equal",
        "Sankhy{\\=a}",
        1960,
    ),
    "bengio2004": (
        "article",
        "Bengio, Yoshua and Grandvalet, Yves",
        "No Unbiased Estimator of the Variance of K-Fold Cross-Validation",
        "Journal of Machine Learning Research",
        2004,
    ),
    "birattari2002": (
        "inproceedings",
        'Birattari, Mauro and St{\\"u}tzle, Thomas and Paquete, Luis and Varrentrapp, Klaus',
        "A Racing Algorithm for Configuring Metaheuristics",
        "Genetic and Evolutionary Computation Conference (GECCO)",
        2002,
    ),
    "cicek2016": (
        "inproceedings",
        '{\\c{C}}i{\\c{c}}ek, {\\"O}zg{\\"u}n and Abdulkadir, Ahmed and Lienkamp, Soeren S. and '
        "Brox, Thomas and Ronneberger, Olaf",
        "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation",
        "Medical Image Computing and Computer-Assisted Intervention (MICCAI)",
        2016,
    ),
    "demsar2006": (
        "article",
        "Dem{\\v{s}}ar, Janez",
        "Statistical Comparisons of Classifiers over Multiple Data Sets",
        "Journal of Machine Learning Research",
        2006,
    ),
    "dorfman1992": (
        "article",
        "Dorfman, Donald D. and Berbaum, Kevin S. and Metz, Charles E.",
        "Receiver Operating Characteristic Rating Analysis: Generalization to the Population of "
        "Readers and Patients with the Jackknife Method",
        "Investigative Radiology",
        1992,
    ),
    "holm1979": (
        "article",
        "Holm, Sture",
        "A Simple Sequentially Rejective Multiple Test Procedure",
        "Scandinavian Journal of Statistics",
        1979,
    ),
    "isensee2021": (
        "article",
        "Isensee, Fabian and Jaeger, Paul F. and Kohl, Simon A. A. and Petersen, Jens and "
        "Maier-Hein, Klaus H.",
        "nnU-Net: A Self-Configuring Method for Deep Learning-Based Biomedical Image Segmentation",
        "Nature Methods",
        2021,
    ),
    "isensee2024": (
        "inproceedings",
        "Isensee, Fabian and others",
        "nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation",
        "Medical Image Computing and Computer-Assisted Intervention (MICCAI)",
        2024,
    ),
    "kingma2015": (
        "inproceedings",
        "Kingma, Diederik P. and Ba, Jimmy",
        "Adam: A Method for Stochastic Optimization",
        "International Conference on Learning Representations (ICLR)",
        2015,
    ),
    "lin2017": (
        "inproceedings",
        "Lin, Tsung-Yi and Goyal, Priya and Girshick, Ross and He, Kaiming and Doll{\\'a}r, Piotr",
        "Focal Loss for Dense Object Detection",
        "International Conference on Computer Vision (ICCV)",
        2017,
    ),
    "loshchilov2019": (
        "inproceedings",
        "Loshchilov, Ilya and Hutter, Frank",
        "Decoupled Weight Decay Regularization",
        "International Conference on Learning Representations (ICLR)",
        2019,
    ),
    "milletari2016": (
        "inproceedings",
        "Milletari, Fausto and Navab, Nassir and Ahmadi, Seyed-Ahmad",
        "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation",
        "International Conference on 3D Vision (3DV)",
        2016,
    ),
    "moritz2018": (
        "inproceedings",
        "Moritz, Philipp and others",
        "Ray: A Distributed Framework for Emerging AI Applications",
        "USENIX Symposium on Operating Systems Design and Implementation (OSDI)",
        2018,
    ),
    "myronenko2018": (
        "inproceedings",
        "Myronenko, Andriy",
        "3D MRI Brain Tumor Segmentation Using Autoencoder Regularization",
        "MICCAI Brainlesion Workshop",
        2018,
    ),
    "roy2023": (
        "inproceedings",
        "Roy, Saikat and others",
        "MedNeXt: Transformer-Driven Scaling of ConvNets for Medical Image Segmentation",
        "Medical Image Computing and Computer-Assisted Intervention (MICCAI)",
        2023,
    ),
    "salehi2017": (
        "inproceedings",
        "Salehi, Seyed Sadegh Mohseni and Erdogmus, Deniz and Gholipour, Ali",
        "Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep Networks",
        "Machine Learning in Medical Imaging (MLMI)",
        2017,
    ),
}


def bibtex(keys: Iterable[str]) -> str:
    """An entry for each key."""
    entries = []
    for key in sorted(set(keys)):
        kind, author, title, where, year = PAPERS[key]
        field = "journal" if kind == "article" else "booktitle"
        entries.append(
            f"@{kind}{{{key},\n  author = {{{author}}},\n  title = {{{{{title}}}}},\n"
            f"  {field} = {{{where}}},\n  year = {{{year}}},\n}}\n"
        )
    return "\n".join(entries)
