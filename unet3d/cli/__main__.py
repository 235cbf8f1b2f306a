from unet3d.cli import main

main()
